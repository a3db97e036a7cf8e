"""Looks at model repositories without serving them: finds what is wrong or slow, and drafts configurations."""
