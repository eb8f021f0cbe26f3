"""The security rules, each played by an attacker; what is not here stands beside the code that keeps the rule."""
