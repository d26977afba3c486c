"""What the commands print: tables and wording."""
