"""Engines at somebody else's: remote providers, asked over HTTP from the node's own event loop.

A worker process cannot open a connection, so a provider's engine has two halves. Its remote half
(:mod:`maquette.runtime.remote.engine`) sends, polls and downloads in the node; every byte that comes
back is a stranger's, and is parsed by its local half, a function in a sandboxed worker, as an upload is.

::

    engine.py      what a remote engine is, and the desk it works at
    http.py        requests: what is tried again and what never is; what may be downloaded
    patience.py    how long, and after which pauses
    answers.py     what comes of them
    addresses.py   which addresses a URL from outside may lead to
    meshy.py       Meshy's protocol
"""
