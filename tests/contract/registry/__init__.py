"""The registry on every pair of database and artifact store."""
