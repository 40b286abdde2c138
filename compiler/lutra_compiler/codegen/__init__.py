"""Program -> the four files of a bundle. No decision is made here."""
