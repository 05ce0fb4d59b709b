"""Workers in JavaScript that the benchmarks bundle from npm packages: their sources, and the bundler."""
