"""Tables that ship with jaxcluster, and the script that builds them; see NOTICE."""
