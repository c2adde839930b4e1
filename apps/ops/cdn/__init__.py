"""The CDN in front of the site: the only code that talks to Cloudflare."""
