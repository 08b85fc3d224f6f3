"""Files of other programs: tables of text, arrays of NumPy, molecules and meshes, each read by its library."""
