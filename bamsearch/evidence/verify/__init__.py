"""``bamsearch verify``: does what a search found help?"""
