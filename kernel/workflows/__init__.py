"""How a workflow runs: started by an application, driven by workers through the pure core, drawn for who looks."""
