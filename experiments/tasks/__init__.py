"""Problems: data, objective and, for the convex ones, the exact minimum."""
