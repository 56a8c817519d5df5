"""The bundled experiments, one YAML file each; ttfs_cupy.config.load reads them by name."""
