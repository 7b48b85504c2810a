"""Who somebody is and what is kept of them: users, sessions, tokens, passwords."""
