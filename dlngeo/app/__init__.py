"""The command ``dlngeo``, the files it reads and the reports it draws."""
