"""Tasks on images, and their data: in the forms in which it is given out, on disk and in memory."""
