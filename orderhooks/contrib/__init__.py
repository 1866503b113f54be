"""Order sources for shop software that others make, each for projects that name it in their settings."""
