"""The composition roots: settings in, running parts out; the only place that names a backend."""
