"""From a source of jobs to a full table: Ray, the workers, and what a person sees."""
