"""The past: Kraken's downloadable history files, read from ZIPs, folders and CSVs, and added to the archive."""
