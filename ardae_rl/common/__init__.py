"""Code that several parts of the package use. It imports no other part."""
