"""The bundled experiments, one YAML file each; ttfs_cupy.load_config reads them by name."""
