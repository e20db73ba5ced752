"""Files that the commands read and write: matrices, archives of arrays, problems of sampling."""
