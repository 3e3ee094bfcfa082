"""Random classifiers, pipelines, data and threats, on which the library's promises are held."""
