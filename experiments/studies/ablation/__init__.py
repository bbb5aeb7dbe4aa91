"""Does every mechanism of the practical plan earn its place? Each one is switched off alone, and some together."""
