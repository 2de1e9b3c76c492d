// The validator is a service elsewhere: the page asks nobody but its own server.
SwaggerUIBundle({ url: "/openapi.json", dom_id: "#api", deepLinking: true, validatorUrl: null });
