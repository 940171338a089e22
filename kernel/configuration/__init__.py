"""What an application is set to: the values, where they come from, and how they are checked."""
