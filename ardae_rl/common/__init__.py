"""What two or more algorithms share."""
