"""`up`: everything on one machine, each part a supervised process of its own."""
