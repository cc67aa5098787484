"""`make bench`: how fast the service is, as ratios to a bare echo measured a moment before, beside the goals.

Each file is one thing:

    __main__.py    the command: what is measured, in which order
    fleet.py       the servers, how each is started, when it is up
    servers/       the programs of those that are not ours;  peers.py  the environments of the peers
    questions.py   the requests that all are sent, and the check that every server answers them right
    load.py        wrk, for throughput and latency;  probes.py  paced requests beside a load, for W7
    compare.py     W1 to W7: a server against bare
    growth.py      W8: time against rows and against models;  network.py  W9: the network alone against its floors
    interval.py    W10: an interval against a plain prediction;  members.py  W11: many networks against one
    curves.py      python -m benchmarks.curves: known curves, and the thermometer by both recipes
    coverage.py    python -m benchmarks.coverage: whether intervals hold what they promise
    wine.py        python -m benchmarks.wine: what an epoch of the wine costs
    results.py     samples, goals, medians;  table.py and picture.py show them
    quiet.py       fits that say nothing
    processes.py   real processes: pinned, measured, always ended
"""
