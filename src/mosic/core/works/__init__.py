"""Works: what is learnt of clips after their upload. docs/decisions/0035-works.md has the reasons."""
