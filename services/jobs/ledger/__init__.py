"""The adapter to PostgreSQL: every SQL statement of `jobs` outside its migrations."""
