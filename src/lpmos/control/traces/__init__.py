"""Traces (O2): every task that ends is sent as one trace to a collector, by OTLP over HTTP."""
