"""Boot and OS images: how they are built, and the directory that keeps them by digest."""
