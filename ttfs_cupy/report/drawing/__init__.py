"""How numbers are shown: charts, tables and pictures."""
