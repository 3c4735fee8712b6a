"""Fuzzers: the codec and a whole cluster under whatever a stranger or a broken peer can send.

`python -m tests.fuzz codec --runs 100000` and `python -m tests.fuzz rendezvous --seconds 60` search for long; the tests
here search for seconds.
"""
