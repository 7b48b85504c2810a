"""The use cases: what people, regions and agents do; the only code that changes a task."""
