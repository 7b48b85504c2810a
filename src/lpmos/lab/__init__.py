"""Virtual racks with real firmware and simulated fleets, for the demo, the tests and benchmarks.

Nothing here is part of a data center: the lab starts the same programs that run in production and
plays the hardware around them. It makes every interface, process and socket that it uses, and never
touches one that it did not make.
"""
