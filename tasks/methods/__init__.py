"""The formula of WCA and the methods that are compared with it."""
