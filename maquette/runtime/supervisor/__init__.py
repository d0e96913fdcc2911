"""One machine, one command: real PostgreSQL, real Envoy and every service as child processes.

::

    mesh.py        starts a table of processes in order, keeps them up, stops them in reverse
    process.py     one child process: spawn, readiness, restarts with back-off, log file
    postgres.py    a PostgreSQL of our own, from the binaries of a wheel
    launch.py      what runs between fork and exec: drop root, die with the parent
    lock.py        one mesh a data folder, one listener a port
    privileges.py  which uid runs what, and what that uid can reach
    probes.py      how a process is seen to be ready
"""
