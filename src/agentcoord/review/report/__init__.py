"""The morning report: what a night brought, told from the daemon's own facts.

`night.night_of()` reads the facts; `html`, `markdown` and `document` each tell them in one form.
"""
