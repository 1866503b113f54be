"""What every resource of the API says and keeps to, whatever it is about: errors, pages, rates, repeated requests."""
