//! Workspaces: a mirror of each repository, a clone for each task, its patch, its commands.
