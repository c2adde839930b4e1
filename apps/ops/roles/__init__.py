"""Postgres' roles: who owns the tables, what the site may do with them, who signs in as whom."""
