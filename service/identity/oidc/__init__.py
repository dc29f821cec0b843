"""An OpenID Connect relying party: provider metadata, JWS, claims, authorization code flow with PKCE, groups."""
