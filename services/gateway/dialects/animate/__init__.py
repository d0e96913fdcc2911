"""The dialect of `/animate/image` and `/status/{job_id}`: one picture to a character that moves."""
