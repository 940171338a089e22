"""What is measured: one module per kind of measurement, each with a `measure` of one system in one round."""
