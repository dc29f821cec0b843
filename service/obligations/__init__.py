"""Obligations that follow from transfers and permits, as tasks with an owner, a due day, a state and evidence."""
