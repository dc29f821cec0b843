"""Transfer requests: revisions, stages, reviews, evidence."""
