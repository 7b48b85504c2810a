"""Traces of calls (O2), and the way of all traces to a collector, by OTLP over HTTP."""
