"""When we look: the scope, its schedules, snapshots, records, and the replay of checkpoints."""
