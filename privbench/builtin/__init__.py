"""The built-in tasks, models, defenses, attacks, generators and audits, written as a plugin would write its own."""
